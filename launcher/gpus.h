// The machine's GPUs, through NVIDIA's management library, loaded only where it is present.
// $PX_NVML names another library than libnvidia-ml.so.1.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace px::launcher {

// What jobs can be given: a GPU, or of one that is partitioned (MIG) each of its partitions.
struct Gpu {
  std::string uuid;  // "GPU-...", "MIG-..."
  std::string name;
  std::string parent;  // of a partition: the GPU's UUID
  uint64_t memory_bytes = 0;
  uint64_t used_bytes = 0;
  std::optional<unsigned> utilisation;  // percent; partitions have none
  std::vector<unsigned> processes;      // that compute on it, whoever's they are
};

// In the driver's order; none where there is no driver. Takes as long as the driver does: up to
// some hundred milliseconds.
std::vector<Gpu> InspectGpus();
// Only the UUIDs, which is quicker.
std::vector<std::string> PresentGpus();

// "it asks for 4 GPUs, this machine has 1"
std::string TooFewGpus(int64_t wanted, size_t present);

}  // namespace px::launcher
