"""`getam app`: look at maps and masks in a browser, mend masks, keep those that are right.

All but `page` and `server` is free of Gradio: functions of what is known of a photo, and the folders it comes from
and goes to.
"""
