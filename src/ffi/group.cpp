// Ranks of a training, over PyTorch's c10d: its key-value store and its process group on Gloo.
// Plain C functions; each returns null, or an error text that the caller frees with
// `unet3d_free`. What they open lives until the process ends: the destructors would wait for
// threads that may be waiting for a rank that is gone.
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include <chrono>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <vector>

#include "guard.h"

namespace {

using unet3d::guarded;
using std::chrono::milliseconds;

struct Store {
  c10::intrusive_ptr<c10d::Store> store;
};

struct Ring {
  c10::intrusive_ptr<c10d::ProcessGroupGloo> group;
  milliseconds timeout;
};

// Waits for an operation on all ranks, until `stop` becomes true: a rank that gave up keeps
// its connections, so that nothing else ends the wait for it. Gloo's own timeout is for each
// message of an operation.
void finish(const Ring *ring, const c10::intrusive_ptr<c10d::Work> &work, const bool *stop) {
  const auto begin = std::chrono::steady_clock::now();
  while (!work->isCompleted()) {
    try {
      work->wait(milliseconds(250));
    } catch (const std::exception &) {
      // Either the time is over, or the operation failed, which the last line throws again.
    }
    if (!work->isCompleted() && __atomic_load_n(stop, __ATOMIC_RELAXED))
      throw std::runtime_error("another rank failed");
    if (!work->isCompleted() && std::chrono::steady_clock::now() - begin > ring->timeout)
      throw std::runtime_error("another rank does not come");
  }
  work->wait();
}

} // namespace

extern "C" {

// Opens the store at a host and port, and with `serves` its server, too; the server listens
// on the socket `listener` if that is not negative.
char *unet3d_store_open(Store **out, const char *host, uint16_t port, bool serves, int listener,
                        int64_t timeout) {
  return guarded([&] {
    // c10d warns of every connection that it tries again or loses. Ranks tell themselves what
    // is wrong, in one error; the variable, which Python programs heed, brings the warnings back.
    if (std::getenv("TORCH_CPP_LOG_LEVEL"))
      c10::initLogging();
    else
      FLAGS_caffe2_log_level = c10::GLOG_ERROR;
    c10d::TCPStoreOptions options;
    options.port = port;
    options.isServer = serves;
    options.waitWorkers = false;
    options.timeout = milliseconds(timeout);
    if (listener >= 0) options.masterListenFd = listener;
    *out = new Store{c10::make_intrusive<c10d::TCPStore>(host, options)};
  });
}

// A second connection to the server of a store, for another thread.
char *unet3d_store_clone(Store **out, Store *store) {
  return guarded([&] { *out = new Store{store->store->clone()}; });
}

char *unet3d_store_set(Store *store, const char *key, const uint8_t *bytes, size_t count) {
  return guarded([&] { store->store->set(key, std::vector<uint8_t>(bytes, bytes + count)); });
}

// The value of a key that is there, as text from malloc; null if the key is not there.
char *unet3d_store_get(Store *store, const char *key, char **text) {
  return guarded([&] {
    *text = nullptr;
    if (!store->store->check({key})) return;
    std::vector<uint8_t> value = store->store->get(key);
    std::string copy(value.begin(), value.end());
    *text = unet3d::copy_text(copy.c_str());
  });
}

// Adds to the number under a key, which is 0 at first, and gives the sum.
char *unet3d_store_add(Store *store, const char *key, int64_t addend, int64_t *sum) {
  return guarded([&] { *sum = store->store->add(key, addend); });
}

// Connects the ranks that share a store; `address` is this machine's, as others reach it, or
// the name of one of its network interfaces.
char *unet3d_ring_open(Ring **out, Store *store, int rank, int size, const char *address,
                       bool is_interface, int64_t timeout) {
  return guarded([&] {
    auto options = c10d::ProcessGroupGloo::Options::create(milliseconds(timeout));
    options->devices.push_back(
        is_interface ? c10d::ProcessGroupGloo::createDeviceForInterface(address)
                     : c10d::ProcessGroupGloo::createDeviceForHostname(address));
    options->threads = 1;
    *out = new Ring{
        c10::make_intrusive<c10d::ProcessGroupGloo>(store->store, rank, size, options),
        milliseconds(timeout)};
  });
}

// Replaces a contiguous CPU tensor by its sum over all ranks, unless `stop` becomes true.
char *unet3d_ring_sum(Ring *ring, at::Tensor *tensor, const bool *stop) {
  return guarded([&] {
    std::vector<at::Tensor> tensors{*tensor};
    finish(ring, ring->group->allreduce(tensors), stop);
  });
}

// Replaces a contiguous CPU tensor by that of rank `root`, unless `stop` becomes true.
char *unet3d_ring_broadcast(Ring *ring, at::Tensor *tensor, int root, const bool *stop) {
  return guarded([&] {
    std::vector<at::Tensor> tensors{*tensor};
    c10d::BroadcastOptions options;
    options.rootRank = root;
    finish(ring, ring->group->broadcast(tensors, options), stop);
  });
}

} // extern "C"
