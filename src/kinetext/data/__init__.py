"""A video in, frames of a clip out: index_clips, extract_frames, and the loader that methods train from."""
