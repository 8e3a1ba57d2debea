#include "launcher/gpus.h"

#include <dlfcn.h>

#include <array>
#include <cstdlib>
#include <memory>

namespace px::launcher {
namespace {

// The part of nvml.h that is used here; the ABI is promised stable by NVIDIA.
using NvmlDevice = void*;
using NvmlInit = int (*)();
using NvmlShutdown = int (*)();
using NvmlCount = int (*)(unsigned*);
using NvmlHandle = int (*)(unsigned, NvmlDevice*);
using NvmlUuid = int (*)(NvmlDevice, char*, unsigned);

struct CloseLibrary {
  void operator()(void* library) const { ::dlclose(library); }
};

template <typename Function>
Function Find(void* library, const char* name) {
  return reinterpret_cast<Function>(::dlsym(library, name));
}

}  // namespace

std::vector<std::string> PresentGpus() {
  const char* name = ::getenv("PX_NVML");
  const std::unique_ptr<void, CloseLibrary> library(
      ::dlopen(name != nullptr ? name : "libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL));
  if (library == nullptr) return {};
  const auto init = Find<NvmlInit>(library.get(), "nvmlInit_v2");
  const auto shutdown = Find<NvmlShutdown>(library.get(), "nvmlShutdown");
  const auto count = Find<NvmlCount>(library.get(), "nvmlDeviceGetCount_v2");
  const auto handle = Find<NvmlHandle>(library.get(), "nvmlDeviceGetHandleByIndex_v2");
  const auto uuid = Find<NvmlUuid>(library.get(), "nvmlDeviceGetUUID");
  if (!init || !shutdown || !count || !handle || !uuid || init() != 0) return {};
  std::vector<std::string> gpus;
  unsigned devices = 0;
  if (count(&devices) != 0) devices = 0;
  for (unsigned i = 0; i < devices; ++i) {
    NvmlDevice device = nullptr;
    std::array<char, 96> text{};
    if (handle(i, &device) == 0 && uuid(device, text.data(), text.size()) == 0) {
      gpus.emplace_back(text.data());
    }
  }
  shutdown();
  return gpus;
}

std::string TooFewGpus(int64_t wanted, size_t present) {
  return "it asks for " + std::to_string(wanted) + (wanted == 1 ? " GPU" : " GPUs") +
         ", this machine has " + (present == 0 ? "none" : std::to_string(present));
}

}  // namespace px::launcher
