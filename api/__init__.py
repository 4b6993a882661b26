"""The HTTP edge: collection by the Segment protocol, webhooks, profiles. Imports connectors, operators and state."""
