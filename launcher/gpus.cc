#include "launcher/gpus.h"

#include <dlfcn.h>

#include <array>
#include <cstdlib>
#include <memory>

namespace px::launcher {
namespace {

// The part of nvml.h that is used here; the ABI is promised stable by NVIDIA.
using NvmlDevice = void*;
struct NvmlMemory {
  unsigned long long total, free, used;
};
struct NvmlUtilisation {
  unsigned gpu, memory;
};
struct NvmlProcess {
  unsigned pid;
  unsigned long long used_memory;
  unsigned gpu_instance, compute_instance;
};
static_assert(sizeof(NvmlProcess) == 24);
constexpr int kInsufficientSize = 7;

struct CloseLibrary {
  void operator()(void* library) const { ::dlclose(library); }
};

// The library, initialised while this lives. What an older one lacks is a null pointer.
class Nvml {
 public:
  Nvml() {
    const char* name = ::getenv("PX_NVML");
    library_.reset(::dlopen(name != nullptr ? name : "libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL));
    if (library_ == nullptr) return;
    Find(init_, "nvmlInit_v2");
    Find(shutdown_, "nvmlShutdown");
    Find(count_, "nvmlDeviceGetCount_v2");
    Find(handle_, "nvmlDeviceGetHandleByIndex_v2");
    Find(uuid_, "nvmlDeviceGetUUID");
    Find(name_, "nvmlDeviceGetName");
    Find(memory_, "nvmlDeviceGetMemoryInfo");
    Find(utilisation_, "nvmlDeviceGetUtilizationRates");
    Find(processes_, "nvmlDeviceGetComputeRunningProcesses_v3");
    if (!processes_) Find(processes_, "nvmlDeviceGetComputeRunningProcesses_v2");
    Find(mig_mode_, "nvmlDeviceGetMigMode");
    Find(mig_count_, "nvmlDeviceGetMaxMigDeviceCount");
    Find(mig_handle_, "nvmlDeviceGetMigDeviceHandleByIndex");
    ready_ = init_ && shutdown_ && count_ && handle_ && uuid_ && init_() == 0;
  }
  ~Nvml() {
    if (ready_) shutdown_();
  }
  Nvml(const Nvml&) = delete;
  Nvml& operator=(const Nvml&) = delete;

  // With `details` all that is in Gpu, else the UUIDs alone.
  std::vector<Gpu> Devices(bool details) const {
    std::vector<Gpu> gpus;
    unsigned devices = 0;
    if (!ready_ || count_(&devices) != 0) return gpus;
    for (unsigned i = 0; i < devices; ++i) {
      NvmlDevice device = nullptr;
      if (handle_(i, &device) == 0) Add(device, details, gpus);
    }
    return gpus;
  }

 private:
  template <typename Function>
  void Find(Function& function, const char* name) {
    function = reinterpret_cast<Function>(::dlsym(library_.get(), name));
  }

  // A partitioned GPU cannot be given whole: its partitions are what there is. One without any yet
  // is none.
  void Add(NvmlDevice device, bool details, std::vector<Gpu>& gpus) const {
    const Gpu whole = Describe(device, details);
    if (whole.uuid.empty()) return;
    unsigned mig = 0;
    unsigned pending = 0;
    const bool partitioned = mig_mode_ && mig_count_ && mig_handle_ &&
                             mig_mode_(device, &mig, &pending) == 0 && mig == 1;
    if (!partitioned) {
      gpus.push_back(whole);
      return;
    }
    unsigned most = 0;
    if (mig_count_(device, &most) != 0) return;
    for (unsigned i = 0; i < most; ++i) {
      NvmlDevice part = nullptr;
      if (mig_handle_(device, i, &part) != 0) continue;  // a place that is not taken
      Gpu gpu = Describe(part, details);
      if (gpu.uuid.empty()) continue;
      gpu.parent = whole.uuid;
      gpus.push_back(std::move(gpu));
    }
  }

  Gpu Describe(NvmlDevice device, bool details) const {
    Gpu gpu;
    std::array<char, 96> text{};
    if (uuid_(device, text.data(), text.size()) != 0) return gpu;
    gpu.uuid = text.data();
    if (!details) return gpu;
    text = {};
    if (name_ && name_(device, text.data(), text.size()) == 0) gpu.name = text.data();
    NvmlMemory memory{};
    if (memory_ && memory_(device, &memory) == 0) {
      gpu.memory_bytes = memory.total;
      gpu.used_bytes = memory.used;
    }
    NvmlUtilisation utilisation{};
    if (utilisation_ && utilisation_(device, &utilisation) == 0) gpu.utilisation = utilisation.gpu;
    gpu.processes = Processes(device);
    return gpu;
  }

  std::vector<unsigned> Processes(NvmlDevice device) const {
    if (!processes_) return {};
    std::vector<NvmlProcess> found(64);
    auto count = static_cast<unsigned>(found.size());
    int result = processes_(device, &count, found.data());
    if (result == kInsufficientSize) {
      // More may come meanwhile; that there are many is known then.
      found.resize(count + 64);
      count = static_cast<unsigned>(found.size());
      result = processes_(device, &count, found.data());
    }
    std::vector<unsigned> pids;
    for (unsigned i = 0; result == 0 && i < count; ++i) pids.push_back(found[i].pid);
    return pids;
  }

  std::unique_ptr<void, CloseLibrary> library_;
  bool ready_ = false;
  int (*init_)() = nullptr;
  int (*shutdown_)() = nullptr;
  int (*count_)(unsigned*) = nullptr;
  int (*handle_)(unsigned, NvmlDevice*) = nullptr;
  int (*uuid_)(NvmlDevice, char*, unsigned) = nullptr;
  int (*name_)(NvmlDevice, char*, unsigned) = nullptr;
  int (*memory_)(NvmlDevice, NvmlMemory*) = nullptr;
  int (*utilisation_)(NvmlDevice, NvmlUtilisation*) = nullptr;
  int (*processes_)(NvmlDevice, unsigned*, NvmlProcess*) = nullptr;
  int (*mig_mode_)(NvmlDevice, unsigned*, unsigned*) = nullptr;
  int (*mig_count_)(NvmlDevice, unsigned*) = nullptr;
  int (*mig_handle_)(NvmlDevice, unsigned, NvmlDevice*) = nullptr;
};

}  // namespace

std::vector<Gpu> InspectGpus() { return Nvml().Devices(/*details=*/true); }

std::vector<std::string> PresentGpus() {
  std::vector<std::string> uuids;
  for (Gpu& gpu : Nvml().Devices(/*details=*/false)) uuids.push_back(std::move(gpu.uuid));
  return uuids;
}

std::string TooFewGpus(int64_t wanted, size_t present) {
  return "it asks for " + std::to_string(wanted) + (wanted == 1 ? " GPU" : " GPUs") +
         ", this machine has " + (present == 0 ? "none" : std::to_string(present));
}

}  // namespace px::launcher
