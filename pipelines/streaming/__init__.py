"""From conversation events on a topic to moderated conversations on another, whatever the broker is."""
