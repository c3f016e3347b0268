/* A complete target in C: the machine of spec §2, written from the specification and the page of the protocol alone.
 *
 *     cc -O2 -o target target.c                          opml-fuzz run --target ./target
 *     cc -O2 -shared -fPIC -o target.so target.c         opml-fuzz run --target lib:./target.so
 *
 * Read it from the bottom: `main` answers lines, the functions of opml_target.h answer calls. Both use `step`, which reads and writes
 * leaves by `load_leaf` and `store_leaf`. These two work on a witness or on a memory of which everything is known. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../opml_fuzz/engines/targets/opml_target.h"

typedef uint8_t hash[32];
enum { DEPTH = 35, LEAF = 32, STATE = OPML_STATE_BYTES };

/* Keccak-256 as Ethereum has it ------------------------------------------------------------------------------------------------ */

static const int ROTATION[24] = {1, 3, 6, 10, 15, 21, 28, 36, 45, 55, 2, 14, 27, 41, 56, 8, 25, 43, 62, 18, 39, 61, 20, 44};
static const int LANE[24] = {10, 7, 11, 17, 18, 3, 5, 16, 8, 21, 24, 4, 15, 23, 19, 13, 12, 2, 20, 14, 22, 9, 6, 1};
static const uint64_t ROUND[24] = {
    0x0000000000000001, 0x0000000000008082, 0x800000000000808a, 0x8000000080008000, 0x000000000000808b, 0x0000000080000001,
    0x8000000080008081, 0x8000000000008009, 0x000000000000008a, 0x0000000000000088, 0x0000000080008009, 0x000000008000000a,
    0x000000008000808b, 0x800000000000008b, 0x8000000000008089, 0x8000000000008003, 0x8000000000008002, 0x8000000000000080,
    0x000000000000800a, 0x800000008000000a, 0x8000000080008081, 0x8000000000008080, 0x0000000080000001, 0x8000000080008008};

static uint64_t rotated(uint64_t a, int by) { return a << by | a >> (64 - by); }

static void permute(uint64_t a[25]) {
    for (int round = 0; round < 24; round++) {
        uint64_t column[5], kept;
        for (int x = 0; x < 5; x++) column[x] = a[x] ^ a[x + 5] ^ a[x + 10] ^ a[x + 15] ^ a[x + 20];
        for (int x = 0; x < 5; x++)
            for (int y = 0; y < 25; y += 5) a[y + x] ^= column[(x + 4) % 5] ^ rotated(column[(x + 1) % 5], 1);
        kept = a[1];
        for (int i = 0; i < 24; i++) {
            uint64_t next = a[LANE[i]];
            a[LANE[i]] = rotated(kept, ROTATION[i]);
            kept = next;
        }
        for (int y = 0; y < 25; y += 5) {
            uint64_t row[5];
            memcpy(row, a + y, sizeof row);
            for (int x = 0; x < 5; x++) a[y + x] = row[x] ^ (~row[(x + 1) % 5] & row[(x + 2) % 5]);
        }
        a[0] ^= ROUND[round];
    }
}

static void keccak256(const uint8_t *data, size_t length, uint8_t *result) {
    enum { RATE = 136 };
    uint64_t a[25] = {0};
    uint8_t last[RATE] = {0};
    for (;; data += RATE, length -= RATE) {
        const uint8_t *block = data;
        if (length < RATE) {
            memcpy(last, data, length);
            last[length] ^= 0x01;
            last[RATE - 1] ^= 0x80;
            block = last;
        }
        for (int i = 0; i < RATE; i++) a[i / 8] ^= (uint64_t)block[i] << 8 * (i % 8);
        permute(a);
        if (length < RATE) break;
    }
    for (int i = 0; i < 32; i++) result[i] = (uint8_t)(a[i / 8] >> 8 * (i % 8));
}

static void hash_pair(const uint8_t *left, const uint8_t *right, uint8_t *result) {
    uint8_t both[64];
    memcpy(both, left, 32);
    memcpy(both + 32, right, 32);
    keccak256(both, 64, result);
}

static const hash *zero(void) { /* zero[j] is the node at height j over memory that is all zero */
    static hash nodes[DEPTH + 1];
    static int is_made;
    for (int height = 0; !is_made && height < DEPTH; height++) hash_pair(nodes[height], nodes[height], nodes[height + 1]);
    is_made = 1;
    return (const hash *)nodes;
}

/* A memory of which everything is known: leaves that are not zero, ascending by index ------------------------------------------- */

typedef struct {
    uint64_t index;
    hash bytes;
} leaf_at;

typedef struct {
    leaf_at *leaves;
    size_t count, room;
} memory;

static size_t first_from(const memory *m, uint64_t index) { /* the first leaf with this index or a higher one */
    size_t low = 0, high = m->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (m->leaves[middle].index < index) low = middle + 1;
        else high = middle;
    }
    return low;
}

static uint8_t *leaf_of(memory *m, uint64_t index) { /* the bytes of a leaf; it is added if it is not there */
    size_t at = first_from(m, index);
    if (at == m->count || m->leaves[at].index != index) {
        if (m->count == m->room && !(m->leaves = realloc(m->leaves, (m->room = 2 * m->room + 16) * sizeof(leaf_at)))) abort();
        memmove(m->leaves + at + 1, m->leaves + at, (m->count++ - at) * sizeof(leaf_at));
        m->leaves[at].index = index;
        memset(m->leaves[at].bytes, 0, LEAF);
    }
    return m->leaves[at].bytes;
}

static void write_bytes(memory *m, uint64_t address, const uint8_t *bytes, size_t length) {
    for (size_t i = 0; i < length; i++) leaf_of(m, (address + i) / LEAF)[(address + i) % LEAF] = bytes[i];
}

static void node(const memory *m, int height, uint64_t index, uint8_t *result) {
    size_t from = first_from(m, index << height);
    if (from == m->count || m->leaves[from].index >> height != index) memcpy(result, zero()[height], 32);
    else if (height == 0) memcpy(result, m->leaves[from].bytes, 32);
    else {
        hash left, right;
        node(m, height - 1, 2 * index, left);
        node(m, height - 1, 2 * index + 1, right);
        hash_pair(left, right, result);
    }
}

/* The machine ------------------------------------------------------------------------------------------------------------------ */

enum { RUNNING, HALTED, TRAPPED };
enum { MISALIGNED = 0, FETCH_FAULT = 1, ILLEGAL = 2, BREAKPOINT = 3, LOAD_FAULT = 5, STORE_FAULT = 7, CALL = 8 };
enum { TRUNCATED = 101, UNDECODABLE, BITMAP, ZERO_SIBLING, WRONG_ROOT, TRAILING };

static const uint64_t ENTRY = 1ull << 38, QUARTER = 1ull << 38, MEMORY = 1ull << 40;

typedef struct {
    uint64_t pc, x[32], value;
    uint8_t kind;
    hash root;
    memory *whole;          /* the memory, or NULL if only a witness is known */
    const uint8_t *rest;    /* of the witness that is read */
    size_t left;
    hash siblings[DEPTH];   /* of the leaf that was read last from a witness */
    uint8_t *made;          /* where a witness is written, or NULL */
    size_t made_length;
    int error;              /* the first error of the witness, or 0 */
} machine;

static uint64_t big_endian(const uint8_t *bytes) {
    uint64_t number = 0;
    for (int i = 0; i < 8; i++) number = number << 8 | bytes[i];
    return number;
}

static void put_big_endian(uint64_t number, uint8_t *bytes) {
    for (int i = 7; i >= 0; i--, number >>= 8) bytes[i] = (uint8_t)number;
}

static int decode_state(machine *m, const uint8_t bytes[STATE]) {
    memset(m, 0, sizeof *m);
    m->pc = big_endian(bytes);
    for (int i = 1; i < 32; i++) m->x[i] = big_endian(bytes + 8 * i);
    m->kind = bytes[256];
    m->value = big_endian(bytes + 257);
    memcpy(m->root, bytes + 265, 32);
    if (m->kind == RUNNING) return m->value == 0;
    if (m->kind == HALTED) return 1;
    return m->kind == TRAPPED && (m->value <= 3 || m->value == 5 || m->value == 7 || m->value == 8);
}

static void encode_state(const machine *m, uint8_t bytes[STATE]) {
    put_big_endian(m->pc, bytes);
    for (int i = 1; i < 32; i++) put_big_endian(m->x[i], bytes + 8 * i);
    bytes[256] = m->kind;
    put_big_endian(m->value, bytes + 257);
    memcpy(bytes + 265, m->root, 32);
}

static void state_hash(machine *m, uint8_t *result) {
    uint8_t bytes[STATE];
    if (m->whole) node(m->whole, DEPTH, 0, m->root);
    encode_state(m, bytes);
    keccak256(bytes, STATE, result);
}

static const uint8_t *take(machine *m, size_t length) { /* the next bytes of the witness */
    const uint8_t *taken = m->rest;
    if (m->left < length) {
        m->error = TRUNCATED;
        return NULL;
    }
    m->rest += length;
    m->left -= length;
    return taken;
}

static void root_over(const uint8_t *leaf, uint64_t index, const hash *siblings, uint8_t *root) {
    memcpy(root, leaf, 32);
    for (int height = 0; height < DEPTH; height++) {
        if (index >> height & 1) hash_pair(siblings[height], root, root);
        else hash_pair(root, siblings[height], root);
    }
}

static int read_access(machine *m, uint64_t index, uint8_t *leaf) {
    const uint8_t *bytes = take(m, LEAF), *sent_bytes = bytes ? take(m, 5) : NULL;
    uint64_t sent = 0;
    hash root;
    if (!sent_bytes) return 0;
    for (int i = 0; i < 5; i++) sent = sent << 8 | sent_bytes[i];
    if (sent >> DEPTH) return m->error = BITMAP, 0;
    for (int height = 0; height < DEPTH; height++) {
        const uint8_t *sibling = sent >> height & 1 ? take(m, 32) : zero()[height];
        if (!sibling) return 0;
        if (sent >> height & 1 && !memcmp(sibling, zero()[height], 32)) return m->error = ZERO_SIBLING, 0;
        memcpy(m->siblings[height], sibling, 32);
    }
    root_over(bytes, index, (const hash *)m->siblings, root);
    if (memcmp(root, m->root, 32)) return m->error = WRONG_ROOT, 0;
    memcpy(leaf, bytes, LEAF);
    return 1;
}

static void write_access(machine *m, uint64_t index, const uint8_t *leaf) {
    uint8_t *at = m->made + m->made_length, *sibling = at + LEAF + 5;
    uint64_t sent = 0;
    memcpy(at, leaf, LEAF);
    for (int height = 0; height < DEPTH; height++) {
        node(m->whole, height, index >> height ^ 1, sibling);
        if (memcmp(sibling, zero()[height], 32)) {
            sent |= 1ull << height;
            sibling += 32;
        }
    }
    for (int i = 0; i < 5; i++) at[LEAF + i] = (uint8_t)(sent >> 8 * (4 - i));
    m->made_length = (size_t)(sibling - m->made);
}

static int load_leaf(machine *m, uint64_t index, uint8_t *leaf) { /* 0 if the witness is wrong */
    if (!m->whole) return read_access(m, index, leaf);
    node(m->whole, 0, index, leaf);
    if (m->made) write_access(m, index, leaf);
    return 1;
}

static void store_leaf(machine *m, uint64_t index, const uint8_t *leaf) { /* the leaf is the one that was loaded last */
    if (m->whole) memcpy(leaf_of(m->whole, index), leaf, LEAF);
    else root_over(leaf, index, (const hash *)m->siblings, m->root);
}

static void trap(machine *m, uint64_t cause) {
    m->kind = TRAPPED;
    m->value = cause;
}

static int64_t sign_extended(uint64_t value, int bits) { return (int64_t)(value << (64 - bits)) >> (64 - bits); }

static int load(machine *m, uint64_t address, int size, uint64_t *value) {
    uint8_t bytes[2 * LEAF];
    int offset = (int)(address % LEAF);
    if (!load_leaf(m, address / LEAF, bytes)) return 0;
    if (offset + size > LEAF && !load_leaf(m, address / LEAF + 1, bytes + LEAF)) return 0;
    *value = 0;
    for (int i = size - 1; i >= 0; i--) *value = *value << 8 | bytes[offset + i];
    return 1;
}

static int store(machine *m, uint64_t address, int size, uint64_t value) {
    hash leaf;
    uint64_t index = address / LEAF;
    if (!load_leaf(m, index, leaf)) return 0;
    for (int i = 0; i < size; i++, value >>= 8) {
        if ((address + i) / LEAF != index) {
            store_leaf(m, index++, leaf);
            if (!load_leaf(m, index, leaf)) return 0;
        }
        leaf[(address + i) % LEAF] = (uint8_t)value;
    }
    store_leaf(m, index, leaf);
    return 1;
}

static uint64_t divided(int64_t a, int64_t b) { /* signed, for 64 bits and for 32 */
    if (b == 0) return UINT64_MAX;
    return b == -1 ? 0 - (uint64_t)a : (uint64_t)(a / b);
}

static uint64_t remaining(int64_t a, int64_t b) {
    if (b == 0) return (uint64_t)a;
    return b == -1 ? 0 : (uint64_t)(a % b);
}

/* The results of OP and OP-IMM, and of OP-32 and OP-IMM-32; 0 if there is no such instruction. */
static int operation(uint32_t funct3, uint32_t funct7, uint64_t a, uint64_t b, uint64_t *result) {
    int64_t sa = (int64_t)a, sb = (int64_t)b;
    switch (funct7 << 3 | funct3) {
        case 0x000: *result = a + b; return 1;
        case 0x001: *result = a << (b & 63); return 1;
        case 0x002: *result = sa < sb; return 1;
        case 0x003: *result = a < b; return 1;
        case 0x004: *result = a ^ b; return 1;
        case 0x005: *result = a >> (b & 63); return 1;
        case 0x006: *result = a | b; return 1;
        case 0x007: *result = a & b; return 1;
        case 0x100: *result = a - b; return 1;
        case 0x105: *result = (uint64_t)(sa >> (b & 63)); return 1;
        case 0x008: *result = a * b; return 1;
        case 0x009: *result = (uint64_t)((__int128)sa * sb >> 64); return 1;
        case 0x00a: *result = (uint64_t)((__int128)sa * (__int128)b >> 64); return 1;
        case 0x00b: *result = (uint64_t)((unsigned __int128)a * b >> 64); return 1;
        case 0x00c: *result = divided(sa, sb); return 1;
        case 0x00d: *result = b ? a / b : UINT64_MAX; return 1;
        case 0x00e: *result = remaining(sa, sb); return 1;
        case 0x00f: *result = b ? a % b : a; return 1;
    }
    return 0;
}

static int word_operation(uint32_t funct3, uint32_t funct7, uint64_t a, uint64_t b, uint64_t *result) {
    uint32_t ua = (uint32_t)a, ub = (uint32_t)b, word;
    int32_t sa = (int32_t)ua, sb = (int32_t)ub;
    switch (funct7 << 3 | funct3) {
        case 0x000: word = ua + ub; break;
        case 0x001: word = ua << (ub & 31); break;
        case 0x005: word = ua >> (ub & 31); break;
        case 0x100: word = ua - ub; break;
        case 0x105: word = (uint32_t)(sa >> (ub & 31)); break;
        case 0x008: word = ua * ub; break;
        case 0x00c: word = (uint32_t)divided(sa, sb); break;
        case 0x00d: word = ub ? ua / ub : UINT32_MAX; break;
        case 0x00e: word = (uint32_t)remaining(sa, sb); break;
        case 0x00f: word = ub ? ua % ub : ua; break;
        default: return 0;
    }
    *result = (uint64_t)(int64_t)(int32_t)word;
    return 1;
}

static int is_taken(uint32_t funct3, uint64_t a, uint64_t b) { /* -1 if there is no such branch */
    switch (funct3) {
        case 0: return a == b;
        case 1: return a != b;
        case 4: return (int64_t)a < (int64_t)b;
        case 5: return (int64_t)a >= (int64_t)b;
        case 6: return a < b;
        case 7: return a >= b;
    }
    return -1;
}

static void jump(machine *m, uint64_t target, uint32_t rd) { /* rd is 0 for a branch */
    uint64_t after = m->pc + 4;
    if (target % 4) {
        trap(m, MISALIGNED);
        return;
    }
    m->pc = target;
    if (rd) m->x[rd] = after;
}

static void step(machine *m) {
    uint64_t word, result, address;
    if (m->kind != RUNNING) return;
    if (m->pc % 4) { trap(m, MISALIGNED); return; }
    if (m->pc < ENTRY || m->pc > ENTRY + (1ull << 28) - 4) { trap(m, FETCH_FAULT); return; }
    if (!load(m, m->pc, 4, &word)) return;

    uint32_t rd = word >> 7 & 31, funct3 = word >> 12 & 7, funct7 = word >> 25 & 127;
    uint64_t a = m->x[word >> 15 & 31], b = m->x[word >> 20 & 31];
    uint64_t imm_i = (uint64_t)sign_extended(word >> 20, 12), imm_u = (uint64_t)sign_extended(word >> 12, 20) << 12;
    uint64_t imm_s = (uint64_t)sign_extended(word >> 25 << 5 | rd, 12);
    uint64_t imm_b = (uint64_t)sign_extended((word >> 31) << 12 | (word >> 7 & 1) << 11 | (word >> 25 & 63) << 5 | (word >> 8 & 15) << 1, 13);
    uint64_t imm_j = (uint64_t)sign_extended((word >> 31) << 20 | (word >> 12 & 255) << 12 | (word >> 20 & 1) << 11 | (word >> 21 & 1023) << 1, 21);
    int size = 1 << (funct3 & 3), taken;

    switch (word & 127) {
        case 0x37: result = imm_u; break;
        case 0x17: result = m->pc + imm_u; break;
        case 0x6f: jump(m, m->pc + imm_j, rd); return;
        case 0x67:
            if (funct3) { trap(m, ILLEGAL); return; }
            jump(m, (a + imm_i) & ~1ull, rd);
            return;
        case 0x63:
            taken = is_taken(funct3, a, b);
            if (taken < 0) trap(m, ILLEGAL);
            else jump(m, taken ? m->pc + imm_b : m->pc + 4, 0);
            return;
        case 0x03:
            if (funct3 == 7) { trap(m, ILLEGAL); return; }
            address = a + imm_i;
            if (address >= MEMORY || address + size > MEMORY) { trap(m, LOAD_FAULT); return; }
            if (!load(m, address, size, &result)) return;
            if (funct3 < 4) result = (uint64_t)sign_extended(result, 8 * size);
            break;
        case 0x23:
            if (funct3 > 3) { trap(m, ILLEGAL); return; }
            address = a + imm_s;
            if (address >= MEMORY || address + size > MEMORY || (address < 2 * QUARTER && address + size > QUARTER)) {
                trap(m, STORE_FAULT);
                return;
            }
            if (!store(m, address, size, b)) return;
            m->pc += 4;
            return;
        case 0x13: /* of a shift, the two highest of the twelve bits but one are fixed; of all else, none is */
            if (funct3 != 1 && funct3 != 5) funct7 = 0;
            else if ((funct7 & 0x7e) != 0 && !(funct3 == 5 && (funct7 & 0x7e) == 0x20)) { trap(m, ILLEGAL); return; }
            if (!operation(funct3, funct7 & 0x7e, a, imm_i, &result)) { trap(m, ILLEGAL); return; }
            break;
        case 0x1b:
            if (funct3 == 0) funct7 = 0;
            else if (funct3 != 1 && funct3 != 5) { trap(m, ILLEGAL); return; }
            if ((funct7 & 0x5f) != 0 || !word_operation(funct3, funct7, a, imm_i, &result)) { trap(m, ILLEGAL); return; }
            break;
        case 0x33:
            if (!operation(funct3, funct7, a, b, &result)) { trap(m, ILLEGAL); return; }
            break;
        case 0x3b:
            if (!word_operation(funct3, funct7, a, b, &result)) { trap(m, ILLEGAL); return; }
            break;
        case 0x0f:
            if (funct3) trap(m, ILLEGAL);
            else m->pc += 4;
            return;
        case 0x73:
            if (word == 0x00100073) trap(m, BREAKPOINT);
            else if (word != 0x00000073) trap(m, ILLEGAL);
            else if (m->x[17] != 93) trap(m, CALL);
            else {
                m->kind = HALTED;
                m->value = m->x[10];
            }
            return;
        default: trap(m, ILLEGAL); return;
    }
    if (rd) m->x[rd] = result;
    m->pc += 4;
}

/* The functions of opml_target.h ----------------------------------------------------------------------------------------------- */

int32_t opml_target_version(void) { return OPML_TARGET_VERSION; }

int32_t opml_execute(const uint8_t *witness, size_t length, uint8_t result[32]) {
    machine m;
    if (length < STATE) return TRUNCATED;
    if (!decode_state(&m, witness)) return UNDECODABLE;
    m.rest = witness + STATE;
    m.left = length - STATE;
    step(&m);
    if (!m.error && m.left) m.error = TRAILING;
    if (!m.error) state_hash(&m, result);
    return m.error;
}

static memory memory_from(const opml_segment *segments, size_t count) {
    memory whole = {0};
    for (size_t i = 0; i < count; i++) write_bytes(&whole, segments[i].address, segments[i].bytes, segments[i].length);
    return whole;
}

int32_t opml_root(const opml_segment *segments, size_t count, uint8_t root[32]) {
    memory whole = memory_from(segments, count);
    node(&whole, DEPTH, 0, root);
    free(whole.leaves);
    return 0;
}

int32_t opml_run(const uint8_t state[STATE], const opml_segment *segments, size_t count, const uint64_t *stops, size_t stop_count,
                 uint8_t *hashes) {
    memory whole = memory_from(segments, count);
    machine m;
    uint64_t steps = 0;
    if (!decode_state(&m, state)) return free(whole.leaves), UNDECODABLE;
    m.whole = &whole;
    for (size_t i = 0; i < stop_count; i++) {
        for (; steps < stops[i] && m.kind == RUNNING; steps++) step(&m);
        state_hash(&m, hashes + 32 * i);
    }
    free(whole.leaves);
    return 0;
}

int32_t opml_step(const uint8_t state[STATE], const opml_segment *segments, size_t count, uint8_t result[32]) {
    const uint64_t one = 1;
    return opml_run(state, segments, count, &one, 1, result);
}

int32_t opml_witness(const uint8_t state[STATE], const opml_segment *segments, size_t count, size_t *length,
                     uint8_t witness[OPML_MOST_WITNESS_BYTES]) {
    memory whole = memory_from(segments, count);
    machine m;
    uint8_t room[OPML_MOST_WITNESS_BYTES + 32]; /* a sibling is written before it is known to be zero */
    if (!decode_state(&m, state)) return free(whole.leaves), UNDECODABLE;
    m.whole = &whole;
    m.made = room;
    m.made_length = STATE;
    memcpy(room, state, STATE);
    step(&m);
    memcpy(witness, room, m.made_length);
    *length = m.made_length;
    free(whole.leaves);
    return 0;
}

/* The lines of the protocol. The fuzzer writes no spaces, and keys in the order of the page, so a search finds a field. ----------- */

static const char *field(const char *line, const char *name) {
    char wanted[32];
    snprintf(wanted, sizeof wanted, "\"%s\":", name);
    const char *found = strstr(line, wanted);
    return found ? found + strlen(wanted) : "";
}

static int digit(char c) { return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1; }

static const char *hex(const char *text, uint8_t *bytes, size_t *length) { /* the bytes at `text`; returns what follows their digits */
    for (*length = 0; digit(text[0]) >= 0 && digit(text[1]) >= 0; text += 2) bytes[(*length)++] = (uint8_t)(digit(text[0]) << 4 | digit(text[1]));
    return text;
}

static void print_hex(const uint8_t *bytes, size_t length) {
    putchar('"');
    for (size_t i = 0; i < length; i++) {
        putchar("0123456789abcdef"[bytes[i] >> 4]);
        putchar("0123456789abcdef"[bytes[i] & 15]);
    }
    putchar('"');
}

static size_t segments_in(const char *text, uint8_t *bytes, opml_segment *segments) { /* {"0x20":"00…","0x40":"00…"} */
    size_t count = 0;
    while (*text == '{' || *text == ',') {
        if (text[1] == '}') break;
        segments[count].address = strtoull(text + 2, (char **)&text, 16);
        segments[count].bytes = bytes;
        text = hex(text + 3, bytes, &segments[count].length) + 1;
        bytes += segments[count++].length;
    }
    return count;
}

static size_t numbers_in(const char *text, uint64_t *numbers) { /* [1,2,3] */
    size_t count = 0;
    while (*text == '[' || *text == ',') numbers[count++] = strtoull(text + 1, (char **)&text, 10);
    return count;
}

static void answer(const char *line, size_t length) {
    uint8_t *bytes = malloc(length), result[OPML_MOST_WITNESS_BYTES], state[STATE] = {0}, *hashes = malloc(32 * length);
    opml_segment *segments = malloc(length * sizeof *segments);
    uint64_t *stops = calloc(length, sizeof *stops);
    if (!bytes || !hashes || !segments || !stops) abort();
    const char *kind = field(line, "ask") + 1, *state_text = field(line, "state");
    size_t size = 32, count = segments_in(field(line, "memory"), bytes, segments), stop_count;
    int32_t error = 0;
    for (int i = 0; i < STATE && *state_text; i++)
        state[i] = (uint8_t)(digit(state_text[1 + 2 * i]) << 4 | digit(state_text[2 + 2 * i]));

    printf("{\"id\":%llu,", strtoull(field(line, "id"), NULL, 10));
    if (!strncmp(kind, "hello", 5)) {
        printf("\"answer\":{\"protocol\":1,\"knows\":[\"execute\",\"step\",\"witness\",\"root\",\"run\"]}}\n");
    } else if (!strncmp(kind, "run", 3)) {
        stop_count = numbers_in(field(line, "stops"), stops);
        error = opml_run(state, segments, count, stops, stop_count, hashes);
        for (size_t i = 0; !error && i < stop_count; i++) {
            printf(i ? "," : "\"answer\":[");
            print_hex(hashes + 32 * i, 32);
        }
        printf(error ? "\"error\":%d}\n" : "]}\n", (int)error);
    } else {
        if (!strncmp(kind, "execute", 7)) {
            hex(field(line, "witness") + 1, bytes, &size);
            error = opml_execute(bytes, size, result);
            size = 32;
        } else if (!strncmp(kind, "step", 4)) error = opml_step(state, segments, count, result);
        else if (!strncmp(kind, "witness", 7)) error = opml_witness(state, segments, count, &size, result);
        else error = opml_root(segments, count, result);
        if (error) printf("\"error\":%d}\n", (int)error);
        else {
            printf("\"answer\":");
            print_hex(result, size);
            printf("}\n");
        }
    }
    fflush(stdout);
    free(bytes);
    free(hashes);
    free(segments);
    free(stops);
}

int main(void) {
    enum { MOST = 1 << 20 };
    static char line[MOST + 2];
    while (fgets(line, sizeof line, stdin)) answer(line, strlen(line));
    return 0;
}
