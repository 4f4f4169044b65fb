"""Pictures as text: colors with coverage, tones, objects with boxes, a caption."""
