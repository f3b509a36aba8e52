"""``providerd doctor``: examines what a daemon or a sidecar stands on, and says what to do."""
