// NVIDIA's driver, as far as a Card calls it, on top of the emulator: what `cuda-bindings` loads as libcuda.so.1 in a test.
#include "emulator.cc"

enum { SUCCESS = 0, INVALID_VALUE = 1, NOT_FOUND = 500 };

static u64 lengths_of[4096], places[4096];
static u32 allocations, blocks_of_device = 3;

extern "C" {

int cuInit(unsigned) { return SUCCESS; }
int cuDriverGetVersion(int *version) { return *version = 12020, SUCCESS; }
int cuDeviceGetCount(int *count) { return *count = 1, SUCCESS; }
int cuDeviceGet(int *device, int number) { return *device = number, SUCCESS; }
int cuDeviceGetName(char *name, int length, int) { return strncpy(name, "Emulated card", length), SUCCESS; }
int cuDevicePrimaryCtxRetain(void **context, int) { return *context = &allocations, SUCCESS; }
int cuCtxSetCurrent(void *context) { return context == &allocations ? SUCCESS : INVALID_VALUE; }
int cuCtxSynchronize() { return SUCCESS; }
int cuModuleLoadData(void **module, const char *ptx) { return *module = strdup(ptx), SUCCESS; }  // the caller may free its text
int cuModuleGetFunction(void **function, void *ptx, const char *name) {
  const char *const kernels[] = {"run_stages", "run_batches", "hash_pages"};
  for (const char *known : kernels)
    if (!strcmp(name, known) && strstr((const char *)ptx, name)) return *function = (void *)known, SUCCESS;
  return NOT_FOUND;
}
int cuOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks, void *, int, size_t) { return *blocks = 1, SUCCESS; }
int cuMemGetInfo(size_t *free, size_t *total) { return *free = *total = (size_t)1 << 40, SUCCESS; }
int cuMemcpyHtoD(u64 to, const void *from, size_t length) { return memcpy((void *)to, from, length), SUCCESS; }
int cuMemcpyDtoD(u64 to, u64 from, size_t length) { return memcpy((void *)to, (void *)from, length), SUCCESS; }
int cuMemcpyDtoH(void *to, u64 from, size_t length) { return memcpy(to, (void *)from, length), SUCCESS; }

int cuDeviceGetAttribute(int *value, int attribute, int) {
  *value = attribute == 10 ? 32 : attribute == 13 ? 1000000 : attribute == 16 ? (int)blocks_of_device : attribute == 75 ? 7 : attribute == 76 ? 5 : attribute == 95;
  return SUCCESS;
}

int cuMemAlloc(u64 *address, size_t length) {
  places[allocations] = *address = (u64)allocate(length);
  lengths_of[allocations++] = length;
  return SUCCESS;
}

int cuMemFree(u64 address) {
  for (u32 k = 0; k < allocations; ++k)
    if (places[k] == address) return places[k] = 0, release((char *)address, lengths_of[k]), SUCCESS;
  return INVALID_VALUE;
}

int cuLaunchCooperativeKernel(void *function, unsigned blocks, unsigned, unsigned, unsigned threads, unsigned, unsigned, unsigned, void *,
                              void **parameters) {
  if (blocks != blocks_of_device || threads != 256) return INVALID_VALUE;
  const u64 *values[3] = {(u64 *)parameters[0], (u64 *)parameters[1], (u64 *)parameters[2]};
  return launch((const char *)function, *values[0], *values[1], *values[2], blocks, threads, FAIR, 1) ? SUCCESS : INVALID_VALUE;
}

int cuGetProcAddress_v2(const char *name, void **function, int, u64, int *status) {
  const struct {
    const char *name;
    void *function;
  } known[] = {
#define KNOWN(name) {#name, (void *)name}
      KNOWN(cuInit), KNOWN(cuDriverGetVersion), KNOWN(cuDeviceGetCount), KNOWN(cuDeviceGet), KNOWN(cuDeviceGetName),
      KNOWN(cuDevicePrimaryCtxRetain), KNOWN(cuCtxSetCurrent), KNOWN(cuCtxSynchronize), KNOWN(cuModuleLoadData), KNOWN(cuModuleGetFunction),
      KNOWN(cuOccupancyMaxActiveBlocksPerMultiprocessor), KNOWN(cuMemGetInfo), KNOWN(cuMemcpyHtoD), KNOWN(cuMemcpyDtoD),
      KNOWN(cuMemcpyDtoH),       KNOWN(cuDeviceGetAttribute), KNOWN(cuMemAlloc), KNOWN(cuMemFree), KNOWN(cuLaunchCooperativeKernel),
  };
  *function = nullptr;
  for (const auto &each : known)
    if (!strcmp(each.name, name)) *function = each.function;
  if (status) *status = *function ? 0 : 1;
  return *function ? SUCCESS : NOT_FOUND;
}
}
