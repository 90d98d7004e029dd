// Resize as Pillow does, to the last bit: bilinear, antialiased, two passes in fixed point (Pillow's Resample.c).
//
//     const pixels = resize(rgb, 1080, 1920, 160, 160);      // Uint8Array of 160 * 160 * 3
//
// A canvas and transformers.js resize by other rules, after which one answer in ten is another one.

const BITS = 22; // of a weight's fraction: eight for the pixel and two for the sum are left of 32

// For each place of the output its first input and the weights from there on.
function weights(inputs, outputs) {
  const scale = inputs / outputs;
  const support = Math.max(scale, 1); // of the triangle, which covers no less than its neighbors
  return Array.from({ length: outputs }, (_, place) => {
    const center = (place + 0.5) * scale;
    const first = Math.max(0, Math.trunc(center - support + 0.5));
    const end = Math.min(inputs, Math.trunc(center + support + 0.5));
    const raw = Array.from({ length: end - first }, (_, i) =>
      Math.max(0, 1 - Math.abs((i + first - center + 0.5) / support)));
    const total = raw.reduce((sum, weight) => sum + weight, 0);
    return [first, raw.map((weight) => Math.trunc(0.5 + (weight / total) * 2 ** BITS))];
  });
}

// One pass along x. pixels: `lines` rows of `inputs` RGB pixels.
function horizontal(pixels, inputs, lines, outputs) {
  const result = new Uint8Array(outputs * lines * 3);
  weights(inputs, outputs).forEach(([first, factors], place) => {
    for (let line = 0; line < lines; line++) {
      for (let channel = 0; channel < 3; channel++) {
        let sum = 2 ** (BITS - 1);
        let at = (line * inputs + first) * 3 + channel;
        for (const factor of factors) {
          sum += pixels[at] * factor;
          at += 3;
        }
        result[(line * outputs + place) * 3 + channel] = Math.min(255, sum >> BITS);
      }
    }
  });
  return result;
}

function transposed(pixels, width, height) {
  const result = new Uint8Array(pixels.length);
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++)
      for (let channel = 0; channel < 3; channel++)
        result[(x * height + y) * 3 + channel] = pixels[(y * width + x) * 3 + channel];
  return result;
}

export function resize(rgb, width, height, newWidth, newHeight) {
  const narrow = horizontal(rgb, width, height, newWidth);
  const low = horizontal(transposed(narrow, newWidth, height), height, newWidth, newHeight);
  return transposed(low, newHeight, newWidth);
}
