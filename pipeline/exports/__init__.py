"""What exports of all formats share: settings, classes, names, boxes and masks of an image."""
