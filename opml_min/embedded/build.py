"""Makes the embedded model out of a finished job of `opml train`, and documents the run.

    opml train embedded --recipe scratch … --out JOB
    python -m opml_min.embedded.build JOB

The job took shape and tokenizer from the model that is replaced. The file that this writes names the shape, and the tokenizer is learned
again from the text. If another training image comes out of them than the job's, nothing is written.
"""

import hashlib
import sys
import tempfile
from pathlib import Path

from opml_min.embedded.documented_run import CHECKSUM, DOCUMENT, MODEL, DocumentedRun, save
from opml_min.model.errors import ModelError
from opml_min.model.files.sealed import sha256_of
from opml_min.model.resolve import resolve
from opml_min.training.jobs.errors import JobError
from opml_min.training.jobs.execution import OpenJob, open_job
from opml_min.training.jobs.folder import JobFolder
from opml_min.training.operations import TrainingOpcode
from opml_min.training.recipes.llama_shape import LlamaShape
from opml_min.training.recipes.recipe import Method, Optimiser

FIRST_UPDATES = (1, 10)  # whose run hashes are documented besides those of the checkpoints, for a short check


def build(folder: JobFolder) -> None:
    """Write model, checksum and documentation. JobError is raised if the job is not what it would be documented as."""
    with folder.locked():
        opened = open_job(folder, threads=1)
        text, run = Path(opened.job.data), documented(opened)
        learned = run.read(text)
        with tempfile.TemporaryDirectory() as temporary:
            if run.begun(learned, Path(temporary), threads=1).model_root != run.model_root:
                raise JobError(f"{folder.path} did not learn from {text} as it is documented")
        run.write_model(MODEL, learned, opened.run)
    CHECKSUM.write_text(f"{hashlib.sha256(MODEL.read_bytes()).hexdigest()}  {MODEL.name}\n", encoding="utf-8")
    save(DOCUMENT, run)


def documented(opened: OpenJob) -> DocumentedRun:
    """Return the documentation of a finished job that trained a text from scratch."""
    job, run, settings = opened.job, opened.run, opened.job.settings
    batches = [op for op in run.ops if op.opcode == TrainingOpcode.TOKENS]
    if job.recipe != Method.SCRATCH or not batches or opened.updates_done != settings.updates:
        raise JobError(f"{opened.folder.path} is no finished training of a text from scratch")
    header = resolve(job.source, None if job.tokenizer is None else Path(job.tokenizer)).image.header
    every = range(job.checkpoint_every, settings.updates, job.checkpoint_every)
    return DocumentedRun(
        text=Path(job.data).name,
        text_sha256=sha256_of(Path(job.data)),
        shape=LlamaShape(header.dim, header.hidden_dim, header.layers, header.heads, header.kv_heads, header.head_size, header.vocabulary),
        context=header.context,
        optimizer=Optimiser(job.optimizer),
        sequences=sum(op["sequences"] for op in batches),
        length=batches[0]["period"],
        settings=settings,
        model_root=job.model_root,
        run_hashes={k: opened.records[k - 1].run_hash for k in sorted({*FIRST_UPDATES, *every, settings.updates})},
        state_root=run.state_root,
    )


if __name__ == "__main__":
    try:
        build(JobFolder(Path(sys.argv[1])))
    except (JobError, ModelError) as error:
        sys.exit(str(error))
