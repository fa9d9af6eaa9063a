"""The pages of the app: each reads widgets, calls views or jobs, and draws."""
