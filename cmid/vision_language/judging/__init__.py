"""Preferences among captions and answers: candidates of several models, judged, best first."""
