// What tch does not bind, as plain C functions. Errors come back as text.
#include <torch/torch.h>
