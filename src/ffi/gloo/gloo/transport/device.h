// Stand-in: what ProcessGroupGloo.hpp needs of Gloo's devices and buffers. See README.md.
#pragma once

namespace gloo::transport {

class Device;

class UnboundBuffer {
 public:
  virtual ~UnboundBuffer() = default;
};

} // namespace gloo::transport
