"""What can be wrong with a training job or with what it is to learn from."""

from opml_min.model.errors import ModelError


class JobError(ModelError):
    """A folder is no training job, is damaged, or is in use."""


class SourceAbsent(JobError):
    """The model that a job trained is not here, or what is here under its name is another one."""


class DataError(ModelError):
    """There is nothing to learn from: a file is no text, or too short."""
