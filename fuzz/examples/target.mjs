// A target in JavaScript that knows `execute`: the machine of spec §2, written from the specification and the page of the protocol alone.
//
//     opml-fuzz run --target "node target.mjs"
//
// Registers are BigInts without a sign. A wrong witness is thrown as the number of its error.
import { createInterface } from "node:readline";

const DEPTH = 35, LEAF = 32, STATE = 297;
const ENTRY = 1n << 38n, QUARTER = 1n << 38n, MEMORY = 1n << 40n;
const [TRUNCATED, UNDECODABLE, BITMAP, ZERO_SIBLING, WRONG_ROOT, TRAILING] = [101, 102, 103, 104, 105, 106];
const [RUNNING, HALTED, TRAPPED] = [0, 1, 2];
const [MISALIGNED, FETCH_FAULT, ILLEGAL, BREAKPOINT, LOAD_FAULT, STORE_FAULT, CALL] = [0n, 1n, 2n, 3n, 5n, 7n, 8n];
const CAUSES = [0n, 1n, 2n, 3n, 5n, 7n, 8n];

// Keccak-256 as Ethereum has it. Each lane is two words of 32 bits: the low one at 2i, the high one at 2i + 1.

const ROTATION = [1, 3, 6, 10, 15, 21, 28, 36, 45, 55, 2, 14, 27, 41, 56, 8, 25, 43, 62, 18, 39, 61, 20, 44];
const LANE = [10, 7, 11, 17, 18, 3, 5, 16, 8, 21, 24, 4, 15, 23, 19, 13, 12, 2, 20, 14, 22, 9, 6, 1];
const ROUND = [
  0x00000001, 0, 0x00008082, 0, 0x0000808a, 0x80000000, 0x80008000, 0x80000000, 0x0000808b, 0, 0x80000001, 0, 0x80008081, 0x80000000,
  0x00008009, 0x80000000, 0x0000008a, 0, 0x00000088, 0, 0x80008009, 0, 0x8000000a, 0, 0x8000808b, 0, 0x0000008b, 0x80000000,
  0x00008089, 0x80000000, 0x00008003, 0x80000000, 0x00008002, 0x80000000, 0x00000080, 0x80000000, 0x0000800a, 0, 0x8000000a, 0x80000000,
  0x80008081, 0x80000000, 0x00008080, 0x80000000, 0x80000001, 0, 0x80008008, 0x80000000,
];
const RATE = 136;

function permute(a) {
  const column = new Int32Array(10), row = new Int32Array(10);
  for (let round = 0; round < 24; round++) {
    for (let i = 0; i < 10; i++) column[i] = a[i] ^ a[i + 10] ^ a[i + 20] ^ a[i + 30] ^ a[i + 40];
    for (let x = 0; x < 5; x++) {
      const left = 2 * ((x + 4) % 5), right = 2 * ((x + 1) % 5);
      const low = column[left] ^ (column[right] << 1 | column[right + 1] >>> 31);
      const high = column[left + 1] ^ (column[right + 1] << 1 | column[right] >>> 31);
      for (let y = 0; y < 50; y += 10) {
        a[y + 2 * x] ^= low;
        a[y + 2 * x + 1] ^= high;
      }
    }
    let low = a[2], high = a[3];
    for (let i = 0; i < 24; i++) {
      const at = 2 * LANE[i], by = ROTATION[i] % 32, [from, to] = ROTATION[i] < 32 ? [low, high] : [high, low];
      [low, high] = [a[at], a[at + 1]];
      a[at] = by ? from << by | to >>> (32 - by) : from;
      a[at + 1] = by ? to << by | from >>> (32 - by) : to;
    }
    for (let y = 0; y < 50; y += 10) {
      for (let i = 0; i < 10; i++) row[i] = a[y + i];
      for (let i = 0; i < 10; i++) a[y + i] = row[i] ^ (~row[(i + 2) % 10] & row[(i + 4) % 10]);
    }
    a[0] ^= ROUND[2 * round];
    a[1] ^= ROUND[2 * round + 1];
  }
}

function keccak256(message) {
  const padded = Buffer.alloc((Math.floor(message.length / RATE) + 1) * RATE), a = new Int32Array(50), hash = Buffer.alloc(32);
  message.copy(padded);
  padded[message.length] ^= 0x01;
  padded[padded.length - 1] ^= 0x80;
  for (let block = 0; block < padded.length; block += RATE) {
    for (let i = 0; i < RATE / 4; i++) a[i] ^= padded.readInt32LE(block + 4 * i);
    permute(a);
  }
  for (let i = 0; i < 8; i++) hash.writeInt32LE(a[i], 4 * i);
  return hash;
}

const pair = (left, right) => keccak256(Buffer.concat([left, right]));

const ZERO = [Buffer.alloc(LEAF)];
for (let height = 0; height < DEPTH; height++) ZERO.push(pair(ZERO[height], ZERO[height]));

function rootOver(leaf, index, siblings) {
  let node = leaf;
  siblings.forEach((sibling, height) => {
    node = index >> BigInt(height) & 1n ? pair(sibling, node) : pair(node, sibling);
  });
  return node;
}

// The witness, read from left to right; `load` and `store` are the accesses of a step.

class Witness {
  constructor(bytes) {
    this.rest = bytes;
    const state = this.take(STATE);
    this.pc = state.readBigUInt64BE(0);
    this.x = Array.from({ length: 32 }, (_, i) => (i ? state.readBigUInt64BE(8 * i) : 0n));
    this.kind = state[256];
    this.value = state.readBigUInt64BE(257);
    this.root = state.subarray(265);
    const isState = [this.value === 0n, true, CAUSES.includes(this.value)][this.kind];
    if (!isState) throw UNDECODABLE;
  }

  take(length) {
    if (this.rest.length < length) throw TRUNCATED;
    const taken = this.rest.subarray(0, length);
    this.rest = this.rest.subarray(length);
    return taken;
  }

  access(index) {
    const leaf = this.take(LEAF), bits = this.take(5), sent = BigInt(bits.readUIntBE(0, 5));
    if (sent >> BigInt(DEPTH)) throw BITMAP;
    this.siblings = ZERO.slice(0, DEPTH).map((zero, height) => {
      if (!(sent >> BigInt(height) & 1n)) return zero;
      const sibling = this.take(32);
      if (sibling.equals(zero)) throw ZERO_SIBLING;
      return sibling;
    });
    if (!rootOver(leaf, index, this.siblings).equals(this.root)) throw WRONG_ROOT;
    return Buffer.from(leaf);
  }

  load(address, size) {
    const index = address / 32n, offset = Number(address % 32n);
    let bytes = this.access(index);
    if (offset + size > LEAF) bytes = Buffer.concat([bytes, this.access(index + 1n)]);
    let value = 0n;
    for (let i = size - 1; i >= 0; i--) value = value << 8n | BigInt(bytes[offset + i]);
    return value;
  }

  store(address, size, value) {
    let index = address / 32n, leaf = this.access(index);
    for (let i = 0; i < size; i++) {
      const place = address + BigInt(i);
      if (place / 32n !== index) {
        this.root = rootOver(leaf, index, this.siblings);
        leaf = this.access(++index);
      }
      leaf[Number(place % 32n)] = Number(value >> BigInt(8 * i) & 255n);
    }
    this.root = rootOver(leaf, index, this.siblings);
  }

  hash() {
    const state = Buffer.alloc(STATE);
    state.writeBigUInt64BE(this.pc, 0);
    for (let i = 1; i < 32; i++) state.writeBigUInt64BE(this.x[i], 8 * i);
    state[256] = this.kind;
    state.writeBigUInt64BE(this.value, 257);
    this.root.copy(state, 265);
    return keccak256(state);
  }
}

// The machine. A trap is thrown as an object.

const trap = (cause) => {
  throw { cause };
};
const u64 = (value) => BigInt.asUintN(64, value), s64 = (value) => BigInt.asIntN(64, value);
const u32 = (value) => BigInt.asUintN(32, value), s32 = (value) => BigInt.asIntN(32, value);
const sdiv = (a, b) => (b ? a / b : -1n), srem = (a, b) => (b ? a % b : a);

const OPERATIONS = { // by funct7 and funct3
  0: {
    0: (a, b) => a + b, 1: (a, b) => a << (b & 63n), 2: (a, b) => BigInt(s64(a) < s64(b)), 3: (a, b) => BigInt(a < b),
    4: (a, b) => a ^ b, 5: (a, b) => a >> (b & 63n), 6: (a, b) => a | b, 7: (a, b) => a & b,
  },
  32: { 0: (a, b) => a - b, 5: (a, b) => s64(a) >> (b & 63n) },
  1: {
    0: (a, b) => a * b, 1: (a, b) => s64(a) * s64(b) >> 64n, 2: (a, b) => s64(a) * b >> 64n, 3: (a, b) => a * b >> 64n,
    4: (a, b) => sdiv(s64(a), s64(b)), 5: sdiv, 6: (a, b) => srem(s64(a), s64(b)), 7: srem,
  },
};
const WORD_OPERATIONS = {
  0: { 0: (a, b) => a + b, 1: (a, b) => a << (b & 31n), 5: (a, b) => u32(a) >> (b & 31n) },
  32: { 0: (a, b) => a - b, 5: (a, b) => s32(a) >> (b & 31n) },
  1: {
    0: (a, b) => a * b, 4: (a, b) => sdiv(s32(a), s32(b)), 5: (a, b) => sdiv(u32(a), u32(b)),
    6: (a, b) => srem(s32(a), s32(b)), 7: (a, b) => srem(u32(a), u32(b)),
  },
};
const BRANCHES = {
  0: (a, b) => a === b, 1: (a, b) => a !== b, 4: (a, b) => s64(a) < s64(b), 5: (a, b) => s64(a) >= s64(b), 6: (a, b) => a < b, 7: (a, b) => a >= b,
};
const SHIFTS = [1, 5];

function execute(m) {
  if (m.pc % 4n) trap(MISALIGNED);
  if (m.pc < ENTRY || m.pc > ENTRY + (1n << 28n) - 4n) trap(FETCH_FAULT);
  const wide = m.load(m.pc, 4), word = Number(wide), bits = (low, count) => (word >>> low) & ((1 << count) - 1);
  const rd = bits(7, 5), funct3 = bits(12, 3), funct7 = bits(25, 7), a = m.x[bits(15, 5)], b = m.x[bits(20, 5)];
  const immediateI = BigInt.asIntN(12, wide >> 20n), immediateS = BigInt.asIntN(12, wide >> 25n << 5n | BigInt(rd));
  const size = 1 << (funct3 & 3);

  const write = (value) => {
    if (rd) m.x[rd] = u64(value);
    m.pc = u64(m.pc + 4n);
  };
  const jump = (target, register) => {
    if (target % 4n) trap(MISALIGNED);
    if (register) m.x[register] = u64(m.pc + 4n);
    m.pc = target;
  };
  const compute = (table, row, operand) => {
    const operation = table[row]?.[funct3];
    return operation ? operation(a, operand) : trap(ILLEGAL);
  };

  switch (bits(0, 7)) {
    case 0x37: return write(s32(wide >> 12n << 12n));
    case 0x17: return write(m.pc + s32(wide >> 12n << 12n));
    case 0x6f: {
      const offset = BigInt(bits(31, 1) << 20 | bits(12, 8) << 12 | bits(20, 1) << 11 | bits(21, 10) << 1);
      return jump(u64(m.pc + BigInt.asIntN(21, offset)), rd);
    }
    case 0x67: return funct3 ? trap(ILLEGAL) : jump(u64(a + immediateI) & ~1n, rd);
    case 0x63: {
      const offset = BigInt(bits(31, 1) << 12 | bits(7, 1) << 11 | bits(25, 6) << 5 | bits(8, 4) << 1);
      const isTaken = (BRANCHES[funct3] ?? (() => trap(ILLEGAL)))(a, b);
      return jump(u64(m.pc + (isTaken ? BigInt.asIntN(13, offset) : 4n)), 0);
    }
    case 0x03: {
      const address = u64(a + immediateI);
      if (funct3 === 7) trap(ILLEGAL);
      if (address + BigInt(size) > MEMORY) trap(LOAD_FAULT);
      const value = m.load(address, size);
      return write(funct3 < 4 ? BigInt.asIntN(8 * size, value) : value);
    }
    case 0x23: {
      const address = u64(a + immediateS), end = address + BigInt(size);
      if (funct3 > 3) trap(ILLEGAL);
      if (end > MEMORY || (address < 2n * QUARTER && end > QUARTER)) trap(STORE_FAULT);
      m.store(address, size, b);
      m.pc = u64(m.pc + 4n);
      return;
    }
    case 0x13: return write(compute(OPERATIONS, SHIFTS.includes(funct3) ? shiftRow(funct7 & 0x7e, funct3) : 0, u64(immediateI)));
    case 0x1b: {
      if (funct3 !== 0 && !SHIFTS.includes(funct3)) trap(ILLEGAL);
      return write(s32(compute(WORD_OPERATIONS, funct3 ? shiftRow(funct7, funct3) : 0, u64(immediateI))));
    }
    case 0x33: return write(compute(OPERATIONS, funct7, b));
    case 0x3b: return write(s32(compute(WORD_OPERATIONS, funct7, b)));
    case 0x0f: return funct3 ? trap(ILLEGAL) : (m.pc = u64(m.pc + 4n));
    case 0x73: {
      if (word === 0x00100073) trap(BREAKPOINT);
      if (word !== 0x00000073) trap(ILLEGAL);
      if (m.x[17] !== 93n) trap(CALL);
      [m.kind, m.value] = [HALTED, m.x[10]];
      return;
    }
    default: return trap(ILLEGAL);
  }
}

const shiftRow = (row, funct3) => (row === 0 || (row === 32 && funct3 === 5) ? row : trap(ILLEGAL));

function answer(question) {
  if (question.ask === "hello") return { answer: { protocol: 1, knows: ["execute"] } };
  try {
    const machine = new Witness(Buffer.from(question.witness, "hex"));
    try {
      if (machine.kind === RUNNING) execute(machine);
    } catch (thrown) {
      if (typeof thrown.cause !== "bigint") throw thrown;
      [machine.kind, machine.value] = [TRAPPED, thrown.cause];
    }
    if (machine.rest.length) throw TRAILING;
    return { answer: machine.hash().toString("hex") };
  } catch (thrown) {
    if (typeof thrown === "number") return { error: thrown };
    return { failed: String(thrown) };
  }
}

createInterface({ input: process.stdin }).on("line", (line) => {
  const question = JSON.parse(line);
  process.stdout.write(`${JSON.stringify({ id: question.id, ...answer(question) })}\n`);
});
