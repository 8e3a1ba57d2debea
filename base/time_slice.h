// How long a thread wants to run at a time. It gets its share of the processor all the same: this
// says in how large pieces.
//
// Since Linux 6.12 a thread that is woken and asks for a shorter slice takes the processor at once
// from one that asks for a longer one (EEVDF, "PREEMPT_SHORT"; before, and from others, it may wait
// for the next tick of the clock, 1 to 4 ms). Needs no privilege, and keeps priority and policy.
#pragma once

#include <chrono>

namespace px {

// For threads that somebody waits for, and that work for microseconds.
inline constexpr std::chrono::nanoseconds kShortSlice = std::chrono::microseconds(100);
// For threads that nobody waits for.
inline constexpr std::chrono::nanoseconds kLongSlice = std::chrono::milliseconds(100);

// Of the calling thread. The kernel takes 0.1 to 100 ms; an older one takes no notice.
void SetTimeSlice(std::chrono::nanoseconds slice);

}  // namespace px
