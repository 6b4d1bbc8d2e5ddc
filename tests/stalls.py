"""stalls.py - how long the machine stood still: what a failed test may be laid to, or not.

A thread sleeps a tenth of a second over and over; what it overslept, nobody ran, or others did.
"""
import threading
import time

NAP = 0.1
WORTH = 0.05  # shorter ones are any machine's


def stolen():
    """(ticks that the hypervisor gave to others, ticks in all), of all CPUs."""
    with open("/proc/stat", encoding="ascii") as f:
        ticks = [int(n) for n in f.readline().split()[1:9]]
    return ticks[7], sum(ticks)


class Stalls:
    def __init__(self):
        self.seen = []  # (when it ended, seconds)
        threading.Thread(target=self.watch, daemon=True).start()

    def watch(self):
        while True:
            before = time.monotonic()
            time.sleep(NAP)
            now = time.monotonic()
            if now - before - NAP > WORTH:
                self.seen.append((now, now - before - NAP))

    @staticmethod
    def now():
        """A moment, to be told of what came after it."""
        return time.monotonic(), stolen()

    def since(self, moment):
        """What came after that, in words."""
        began, (was, all_was) = moment
        now, all_now = stolen()
        longest = max((s for at, s in self.seen if at > began), default=0.0)
        share = (now - was) / max(all_now - all_was, 1)
        return f"longest standstill {longest:.2f} s, {share:.0%} of the CPUs' time went to others"
