// Writes a module of TorchScript that is given by its tensors and its source.
#include <torch/csrc/jit/api/module.h>
#include <torch/csrc/jit/serialization/export.h>

#include <cstring>
#include <string>

#include "guard.h"

namespace {

using torch::jit::Module;

// The module `name` within `parent`, made if it is not there.
Module child(Module &parent, const std::string &name) {
  if (parent.hasattr(name)) return parent.attr(name).toModule();
  Module made(c10::QualifiedName("Module"), parent._ivalue()->compilation_unit(),
              /*shouldMangle=*/true);
  parent.register_module(name, made);
  return made;
}

} // namespace

// `names` are those of the state dict, with dots between the modules. `bytes` gets the
// archive, which is freed with `unet3d_free`, and `size` its length.
extern "C" char *unet3d_script(const char *source, const char *const *names,
                               at::Tensor *const *tensors, const bool *trained, size_t count,
                               char **bytes, size_t *size) {
  return unet3d::guarded([&] {
    Module root("UNet");
    for (size_t i = 0; i < count; i++) {
      Module place = root;
      std::string name = names[i];
      for (size_t dot; (dot = name.find('.')) != std::string::npos; name = name.substr(dot + 1))
        place = child(place, name.substr(0, dot));
      at::Tensor copy = tensors[i]->detach().contiguous().clone();
      if (trained[i]) copy.set_requires_grad(true);
      place.register_parameter(name, copy, /*is_buffer=*/!trained[i]);
    }
    root.register_attribute("training", c10::BoolType::get(), false);
    root.define(source);
    // In memory: torch ends the process where a file cannot be written to its end.
    std::string archive;
    torch::jit::ExportModule(root, [&](const void *data, size_t length) {
      archive.append(static_cast<const char *>(data), length);
      return length;
    });
    char *copy = static_cast<char *>(std::malloc(archive.size()));
    TORCH_CHECK(copy != nullptr, "there is not enough memory for the archive");
    std::memcpy(copy, archive.data(), archive.size());
    *bytes = copy;
    *size = archive.size();
  });
}
