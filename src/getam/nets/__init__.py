"""Networks: any timm vision transformer as encoder, DPT as decoder, a class head."""
