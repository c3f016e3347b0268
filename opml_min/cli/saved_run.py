"""What `opml run --save` writes: the run and the names of its model's files, for a validator in another folder."""

from pathlib import Path

from opml_min.model.resolve import Model
from opml_min.model.run import Run
from opml_min.model.run_file import SavedRun, save


def save_run(path: Path, run: Run, name: str, model: Model) -> None:
    """Write a finished run of the model that was named `name`. A path is written as an absolute one."""
    is_path = Path(name).is_file() or model.source == Path(name)
    saved = SavedRun(
        model=str(Path(name).absolute()) if is_path else name,
        tokenizer=None if model.tokenizer_path is None else model.tokenizer_path.absolute(),
        arithmetic=model.arithmetic,
        model_root=run.model_root,
        request=run.request,
        stages=run.stage_count,
        run_hash=run.run_hash(),
    )
    save(path, saved)
