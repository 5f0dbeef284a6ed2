// Stand-in: nothing of this header is used. See README.md.
#pragma once
