// A stand-in for NVIDIA's management library: $PX_FAKE_GPUS devices called GPU-fake-0, GPU-fake-1,
// ... Loaded by px-launch through $PX_NVML.
//
// $PX_FAKE_MIG, "1:3", partitions GPU 1 into three, MIG-fake-1-0 to MIG-fake-1-2, in a driver that
// has room for seven. $PX_FAKE_PROCESSES names a file with lines "UUID PID": what computes on them.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>

namespace {

constexpr int kNotFound = 6;
constexpr int kInsufficientSize = 7;
constexpr int kNotSupported = 3;

unsigned Number(const char* name) {
  const char* text = std::getenv(name);
  return text == nullptr ? 0 : static_cast<unsigned>(std::strtoul(text, nullptr, 10));
}

// A handle is the GPU's index plus one, and above it the partition's plus one: never null.
unsigned GpuOf(const void* device) {
  return static_cast<unsigned>((reinterpret_cast<uintptr_t>(device) & 0xffff) - 1);
}
unsigned PartOf(const void* device) {
  return static_cast<unsigned>(reinterpret_cast<uintptr_t>(device) >> 16);
}

unsigned PartsOf(const void* device) {
  const char* text = std::getenv("PX_FAKE_MIG");
  unsigned gpu = 0;
  unsigned parts = 0;
  if (text == nullptr || std::sscanf(text, "%u:%u", &gpu, &parts) != 2) return 0;
  return gpu == GpuOf(device) ? parts : 0;
}

std::string Uuid(const void* device) {
  const std::string gpu = std::to_string(GpuOf(device));
  if (PartOf(device) == 0) return "GPU-fake-" + gpu;
  return "MIG-fake-" + gpu + "-" + std::to_string(PartOf(device) - 1);
}

int Copy(const std::string& from, char* text, unsigned size) {
  std::snprintf(text, size, "%s", from.c_str());
  return 0;
}

struct Memory {
  unsigned long long total, free, used;
};
struct Utilisation {
  unsigned gpu, memory;
};
struct Process {
  unsigned pid;
  unsigned long long used_memory;
  unsigned gpu_instance, compute_instance;
};

}  // namespace

extern "C" {

int nvmlInit_v2() { return 0; }
int nvmlShutdown() { return 0; }

int nvmlDeviceGetCount_v2(unsigned* count) {
  *count = Number("PX_FAKE_GPUS");
  return 0;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, void** device) {
  *device = reinterpret_cast<void*>(static_cast<uintptr_t>(index) + 1);
  return 0;
}

int nvmlDeviceGetUUID(void* device, char* text, unsigned size) {
  return Copy(Uuid(device), text, size);
}

int nvmlDeviceGetName(void*, char* text, unsigned size) { return Copy("Pretend GPU", text, size); }

int nvmlDeviceGetMemoryInfo(void*, Memory* memory) {
  constexpr unsigned long long kTotal = 80ULL << 30;
  *memory = {kTotal, kTotal - (1ULL << 30), 1ULL << 30};
  return 0;
}

int nvmlDeviceGetUtilizationRates(void* device, Utilisation* utilisation) {
  if (PartOf(device) != 0) return kNotSupported;
  *utilisation = {25, 10};
  return 0;
}

int nvmlDeviceGetComputeRunningProcesses_v3(void* device, unsigned* count, Process* processes) {
  const unsigned room = *count;
  *count = 0;
  const char* path = std::getenv("PX_FAKE_PROCESSES");
  std::ifstream file(path == nullptr ? "" : path);
  std::string uuid;
  unsigned pid = 0;
  while (file >> uuid >> pid) {
    if (uuid != Uuid(device)) continue;
    if (*count < room) processes[*count] = {pid, 1 << 20, 0, 0};
    ++*count;
  }
  return *count > room ? kInsufficientSize : 0;
}

int nvmlDeviceGetMigMode(void* device, unsigned* current, unsigned* pending) {
  *current = *pending = PartsOf(device) > 0 ? 1 : 0;
  return 0;
}

int nvmlDeviceGetMaxMigDeviceCount(void*, unsigned* count) {
  *count = 7;
  return 0;
}

int nvmlDeviceGetMigDeviceHandleByIndex(void* device, unsigned index, void** part) {
  if (index >= PartsOf(device)) return kNotFound;
  *part = reinterpret_cast<void*>(reinterpret_cast<uintptr_t>(device) |
                                  (static_cast<uintptr_t>(index) + 1) << 16);
  return 0;
}
}
