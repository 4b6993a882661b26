"""`make bench`: what an event costs, part by part, on one worker with a real Redis; then determinism over 200,000 events."""

from benchmarks import determinism, event_cost

if __name__ == "__main__":
    event_cost.main()
    determinism.main()
