"""`make bench`: an event's cost, part by part, with a real Redis; determinism over 200,000 events; then the full job."""

from benchmarks import determinism, event_cost, full_job

if __name__ == "__main__":
    event_cost.main()
    determinism.main()
    full_job.main([])
