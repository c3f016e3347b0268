"""What trains, and how: from a shape or a source model to a training model."""
