"""One small random model per family of backbones, for tests of methods."""

FAMILIES = (
    "siglip",  # attention pooling; no class token
    "pe",  # attention pooling over a class token and patches with rotary positions
    "pe_without_class",
    "eva02",  # class token, rotary positions
    "registers",  # class token and registers
    "mobileclip_b",  # class token, convolutional stem
    "clipa",  # mean of the patches; the last token of a text
    "worldwide",  # class token; the end of a text by its id
    "coca",  # attention pooling; a class token after the text
)


def small(family):
    """A small random model of 32 px. Importing timm takes seconds, so it waits for a test that needs it."""
    import small_native
    import small_timm

    if family in ("clipa", "worldwide"):
        return small_native.small(family, tokenizer=small_timm.WordTokenizer())
    return small_native.small(family) if family in small_native.VARIANTS else small_timm.small(family)
