"""The reviewer: one pair at a time, a key for each verdict, saved before the next pair is drawn."""
