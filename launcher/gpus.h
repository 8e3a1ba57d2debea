// The machine's GPUs, through NVIDIA's management library, loaded only where it is present.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace px::launcher {

// UUIDs in the driver's order; empty where there is no driver. $PX_NVML names another library than
// libnvidia-ml.so.1.
std::vector<std::string> PresentGpus();

// "it asks for 4 GPUs, this machine has 1"
std::string TooFewGpus(int64_t wanted, size_t present);

}  // namespace px::launcher
