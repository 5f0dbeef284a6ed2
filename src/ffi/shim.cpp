// Functions that tch does not bind, as plain C functions on tch's tensor handles
// (`at::Tensor *`). Each returns null, or an error text that the caller frees with
// `unet3d_free`. No CUDA header is needed: ATen/DeviceAccelerator.h gives access to the
// allocator of the accelerator that libtorch was built for.
#include <ATen/ATen.h>
#include <ATen/DeviceAccelerator.h>
#include <ATen/core/grad_mode.h>

#include <dlfcn.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstdlib>
#include <vector>

#include "guard.h"

#ifdef __GLIBC__
#include <malloc.h>
#endif

namespace {

using unet3d::guarded;

std::vector<at::Tensor> list(at::Tensor *const *tensors, size_t count) {
  std::vector<at::Tensor> result;
  result.reserve(count);
  for (size_t i = 0; i < count; i++) result.push_back(*tensors[i]);
  return result;
}

} // namespace

// Where the working directory was removed, libraries end the process with words that say
// nothing of it, before the program begins. This runs before their initialization.
#ifdef __linux__
static void check_working_directory(int, char **, char **) {
  char path[PATH_MAX];
  if (getcwd(path, sizeof path) != nullptr || errno != ENOENT) return;
  static const char text[] =
      "error: the working directory does not exist any more; change to another one\n";
  // There is no other place to say it, if this fails.
  (void)!write(STDERR_FILENO, text, sizeof text - 1);
  _exit(1);
}

__attribute__((section(".preinit_array"), used)) static void (*const before_all)(
    int, char **, char **) = check_working_directory;
#endif

extern "C" {

void unet3d_free(char *text) { std::free(text); }

// Has the process end without the destructors of libtorch's static objects, which take as long
// as a third of a short run. What was registered later, by the HDF5 library, still runs.
void unet3d_end_at_once() {
#ifdef __GLIBC__
  on_exit([](int status, void *) { _exit(status); }, nullptr);
#endif
}

// Loads libtorch's part for CUDA where the machine has NVIDIA's driver. It is not linked,
// because it takes a third of the program's start and 350 MB, on machines without a GPU too.
// Must come before whatever asks libtorch for a GPU, because libtorch asks its parts once.
char *unet3d_load_cuda() {
  if (dlopen("libcuda.so.1", RTLD_LAZY) == nullptr) return nullptr;
  if (dlopen("libtorch_cuda.so", RTLD_LAZY | RTLD_GLOBAL) != nullptr) return nullptr;
  const char *reason = dlerror();
  return unet3d::copy_text(reason != nullptr ? reason : "libtorch_cuda.so cannot be loaded");
}

// A tensor in memory that Rust owns; `drop(owner)` is called when the last reference to
// its storage is released.
char *unet3d_from_blob(at::Tensor **out, void *data, const int64_t *sizes, size_t rank,
                       int8_t kind, void *owner, void (*drop)(void *)) {
  return guarded([&] {
    *out = new at::Tensor(at::from_blob(
        data, at::IntArrayRef(sizes, rank), [owner, drop](void *) { drop(owner); },
        at::TensorOptions().dtype(static_cast<at::ScalarType>(kind))));
  });
}

char *unet3d_leaky_relu_(at::Tensor *x, double slope) {
  return guarded([&] { at::leaky_relu_(*x, slope); });
}

// `x` in NDHWC storage (channels_last) or NCDHW storage, a copy only if needed.
char *unet3d_to_layout(at::Tensor **out, at::Tensor *x, bool channels_last) {
  return guarded([&] {
    auto format = channels_last ? at::MemoryFormat::ChannelsLast3d : at::MemoryFormat::Contiguous;
    *out = new at::Tensor(x->contiguous(format));
  });
}

// One step of Adam over all parameters; see torch.optim.Adam.
char *unet3d_fused_adam(at::Tensor *const *parameters, at::Tensor *const *gradients,
                        at::Tensor *const *first_moments, at::Tensor *const *second_moments,
                        at::Tensor *const *steps, size_t count, double learning_rate, double beta1,
                        double beta2, double weight_decay, double epsilon, at::Tensor *skip) {
  return guarded([&] {
    at::NoGradGuard no_grad;
    std::optional<at::Tensor> found_inf;
    if (skip != nullptr) found_inf = *skip;
    at::_fused_adam_(list(parameters, count), list(gradients, count), list(first_moments, count),
                     list(second_moments, count), {}, list(steps, count), learning_rate, beta1,
                     beta2, weight_decay, epsilon, /*amsgrad=*/false, /*maximize=*/false, {},
                     found_inf);
  });
}

// One step of SGD over all parameters; see torch.optim.SGD. `buffers` may be
// null when the momentum is 0.
char *unet3d_fused_sgd(at::Tensor *const *parameters, at::Tensor *const *gradients,
                       at::Tensor *const *buffers, size_t count, double learning_rate,
                       double momentum, double weight_decay, bool first_step, at::Tensor *skip) {
  return guarded([&] {
    at::NoGradGuard no_grad;
    std::optional<at::Tensor> found_inf;
    if (skip != nullptr) found_inf = *skip;
    std::vector<at::Tensor> momenta;
    if (buffers != nullptr) momenta = list(buffers, count);
    at::_fused_sgd_(list(parameters, count), list(gradients, count), momenta, weight_decay,
                    momentum, learning_rate, /*dampening=*/0.0, /*nesterov=*/false,
                    /*maximize=*/false, first_step, {}, found_inf);
  });
}

// A copy of a CPU tensor on a CUDA device through page-locked memory, so that the host
// does not wait for it; libtorch keeps that memory until the copy is complete.
char *unet3d_to_cuda(at::Tensor **out, at::Tensor *x, int8_t device) {
  return guarded([&] {
    *out = new at::Tensor(
        x->pin_memory().to(at::Device(at::kCUDA, device), x->scalar_type(), /*non_blocking=*/true));
  });
}

// Free and total bytes of the accelerator's memory.
char *unet3d_memory_info(int8_t device, uint64_t *available, uint64_t *total) {
  return guarded([&] {
    auto info = at::accelerator::getMemoryInfo(device);
    *available = info.first;
    *total = info.second;
  });
}

// Returns cached blocks of the accelerator's allocator to the driver.
char *unet3d_empty_cache() {
  return guarded([&] { at::accelerator::emptyCache(); });
}

char *unet3d_synchronize(int8_t device) {
  return guarded([&] { at::accelerator::synchronizeDevice(device); });
}

// Keeps freed memory in the process. Otherwise glibc maps large blocks again for each
// tensor, and the kernel clears all of their pages, which takes a tenth of an iteration.
void unet3d_keep_memory() {
#ifdef __GLIBC__
  mallopt(M_MMAP_MAX, 0);
  mallopt(M_TRIM_THRESHOLD, INT_MAX);
  mallopt(M_TOP_PAD, 64 << 20);
#endif
}

// cuDNN: choose kernels by timing them (`benchmark`) or only reproducible ones.
void unet3d_cudnn(bool benchmark, bool deterministic) {
  at::globalContext().setBenchmarkCuDNN(benchmark);
  at::globalContext().setDeterministicCuDNN(deterministic);
}

} // extern "C"
