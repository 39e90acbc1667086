"""From maps to pseudo labels: (B, H, W) uint8, 0 background, 1..C classes, 255 ignore; `deep` for longer lists."""
