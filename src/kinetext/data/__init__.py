"""Turn videos into the frames of clips: index_clips, extract_frames, and the loader that methods train from."""
