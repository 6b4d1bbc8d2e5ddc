"""stalls.py - how long the machine stood still: what a failed test may be laid to, or not.

A thread sleeps a tenth of a second over and over; what it overslept, nobody ran, or others did.
"""
import threading
import time

NAP = 0.1


def stolen():
    """(ticks that the hypervisor gave to others, ticks in all), of all CPUs."""
    with open("/proc/stat", encoding="ascii") as f:
        ticks = [int(n) for n in f.readline().split()[1:9]]
    return ticks[7], sum(ticks)


class Stalls:
    def __init__(self):
        self.longest = 0.0
        self.since = stolen()
        threading.Thread(target=self.watch, daemon=True).start()

    def watch(self):
        while True:
            before = time.monotonic()
            time.sleep(NAP)
            self.longest = max(self.longest, time.monotonic() - before - NAP)

    def told(self):
        """Since it was told last, in words."""
        (was, all_was), (now, all_now) = self.since, stolen()
        longest, self.longest, self.since = self.longest, 0.0, (now, all_now)
        share = (now - was) / max(all_now - all_was, 1)
        return f"longest standstill {longest:.2f} s, {share:.0%} of the CPUs' time went to others"
