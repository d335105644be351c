"""Commands that try to break Vitascope with hostile names, files, settings and interruptions."""
