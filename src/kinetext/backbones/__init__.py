"""Image-text models: frames and texts in, features of one joint space out. Only this package knows open_clip."""
