# Toolchain of a cross build for 64-bit ARM, with the compiler of Debian's g++-aarch64-linux-gnu (docs/aarch64.md):
# CMAKE_TOOLCHAIN_FILE=.ci/wheel/aarch64.cmake _PYTHON_HOST_PLATFORM=linux-aarch64 TORCH_DIR=...
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)
