"""One run on disk and as processes: files, configuration, folders, launchers, signals, messages and tables."""
