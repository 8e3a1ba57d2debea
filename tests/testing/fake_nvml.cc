// A stand-in for NVIDIA's management library: $PX_FAKE_GPUS devices called GPU-fake-0, GPU-fake-1,
// ... Loaded by px-launch through $PX_NVML.
#include <cstdint>
#include <cstdio>
#include <cstdlib>

extern "C" {

int nvmlInit_v2() { return 0; }
int nvmlShutdown() { return 0; }

int nvmlDeviceGetCount_v2(unsigned* count) {
  const char* text = std::getenv("PX_FAKE_GPUS");
  *count = text == nullptr ? 0 : static_cast<unsigned>(std::strtoul(text, nullptr, 10));
  return 0;
}

// A handle is the index plus one: never null.
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void** device) {
  *device = reinterpret_cast<void*>(static_cast<uintptr_t>(index) + 1);
  return 0;
}

int nvmlDeviceGetUUID(void* device, char* text, unsigned size) {
  const auto index = reinterpret_cast<uintptr_t>(device) - 1;
  std::snprintf(text, size, "GPU-fake-%u", static_cast<unsigned>(index));
  return 0;
}
}
