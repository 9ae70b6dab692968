"""Pure: what a job, a transcript and an event are."""
