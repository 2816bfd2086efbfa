"""Image-text models, which map frames and texts to features in a joint space. Only this package imports open_clip."""
