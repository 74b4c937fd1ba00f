// What the headers of newer systems ask for and manylinux_2_28 (RHEL 8) does not have, defined here, inside the
// library. Only a build against the stub libraries of glibc 2.28 has this file (BODVCL_GLIBC_STUBS, docs/wheels.md).
#include <sstream>

// GLIBC_2.32, read by <ext/atomicity.h>: not zero while the process has one thread. Zero says that it may have
// several, so that shared counters are always changed atomically. That is right in every process.
extern "C" {
__attribute__((visibility("hidden"))) char __libc_single_threaded = 0;
}

// GLIBCXX_3.4.26: default constructors of streams, used by the headers of PyTorch's stable ABI. Their source is
// in <sstream>; only `extern template` keeps the compiler from using it.
template std::basic_stringstream<char>::basic_stringstream();
template std::basic_ostringstream<char>::basic_ostringstream();
