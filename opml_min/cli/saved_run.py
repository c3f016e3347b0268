"""What `opml run --save` writes: the run and the names of its model's files, for a validator in another folder."""

import os
from pathlib import Path

from opml_min.model.files.atomic import check_writable
from opml_min.model.resolve import Model
from opml_min.model.run import Run
from opml_min.model.run_file import SavedRun, save
from opml_min.model.sources.read import files_of_source


def check_save(path: Path, model: Model, reads: Path | None) -> None:
    """Raise WriteFailed if a run of this model cannot be saved there. reads: another file that the command reads"""
    named = [model.image.path, model.tokenizer_path, reads]
    sources = [] if model.source is None else files_of_source(model.source)
    check_writable(path, [*sources, *(file for file in named if file is not None)])


def save_run(path: Path, run: Run, name: str, model: Model) -> None:
    """Write a finished run of the model that was named `name`. A path is written as an absolute one."""
    is_path = os.path.isfile(name) or model.source == Path(name)
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
