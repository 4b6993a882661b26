"""The reduced job, ours and our peers': one traffic, one job in words (JOB.md), one file for each contender."""
