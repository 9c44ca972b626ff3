"""The one place where the rooms meet: settings, clock, receivers, store, analysis, answers."""
