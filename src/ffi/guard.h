// How C++ errors reach Rust: as texts that the caller frees with `unet3d_free`.
#pragma once

#include <c10/util/Exception.h>

#include <cstdlib>
#include <cstring>
#include <exception>

namespace unet3d {

inline char *copy_text(const char *text) {
  char *copy = static_cast<char *>(std::malloc(std::strlen(text) + 1));
  if (copy != nullptr) std::strcpy(copy, text);
  return copy;
}

// Runs `body` and returns null, or the text of the exception that it threw.
template <typename Body> char *guarded(Body body) {
  try {
    body();
    return nullptr;
  } catch (const c10::Error &error) {
    return copy_text(error.what_without_backtrace());
  } catch (const std::exception &error) {
    return copy_text(error.what());
  } catch (...) {
    return copy_text("unknown C++ exception");
  }
}

} // namespace unet3d
