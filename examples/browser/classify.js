// A model folder in the browser: the same probabilities as predict.py --precision fp32, and no image leaves the machine.
//
//     const model = await open(ort, "/app/models/fashion/");
//     const [first] = await model.classify(file);               // {label: "Tshirts", confidence: 0.93}

import { resize } from "./pillow_resize.js";

const LEFT = 0.02; // of a probability that is below its label's floor

export async function open(ort, folder) {
  const json = async (name) => {
    const answer = await fetch(folder + name);
    return answer.ok ? answer.json() : null;
  };
  const [config, preprocessor, calibration] = await Promise.all(
    ["config.json", "preprocessor_config.json", "calibration.json"].map(json));
  if (!config || !preprocessor) throw new Error(`${folder} is not a model folder: config.json is missing`);
  if (preprocessor.do_pad_to_square) throw new Error(`${folder} pads its images, which this page does not: train again`);
  const session = await ort.InferenceSession.create(folder + "model.onnx");
  const { height, width } = preprocessor.size;
  return {
    async classify(file) {
      const input = new ort.Tensor("float32", await pixelsOf(file, preprocessor), [1, 3, height, width]);
      const { logits } = await session.run({ pixel_values: input }, ["logits"]);
      const confidences = probabilities(logits.data, calibration);
      return confidences
        .map((confidence, number) => ({ label: config.id2label[number], confidence }))
        .sort((a, b) => b.confidence - a.confidence);
    },
  };
}

// (3, height, width) as the graph reads it.
async function pixelsOf(file, preprocessor) {
  const { size, image_mean, image_std, rescale_factor } = preprocessor;
  const image = await rgbOf(file);
  const small = resize(image.rgb, image.width, image.height, size.width, size.height);
  const places = size.width * size.height;
  return Float32Array.from({ length: 3 * places }, (_, i) => {
    const channel = Math.trunc(i / places);
    return (small[(i % places) * 3 + channel] * rescale_factor - image_mean[channel]) / image_std[channel];
  });
}

// Upright, in sRGB, on white.
async function rgbOf(file) {
  const bitmap = await createImageBitmap(file);
  const { width, height } = bitmap;
  const canvas = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  canvas.drawImage(bitmap, 0, 0);
  const { data } = canvas.getImageData(0, 0, width, height);
  const rgb = new Uint8Array(width * height * 3);
  for (let pixel = 0; pixel < width * height; pixel++) {
    const alpha = data[pixel * 4 + 3];
    for (let channel = 0; channel < 3; channel++) {
      const sum = data[pixel * 4 + channel] * alpha + 255 * (255 - alpha) + 128;
      rgb[pixel * 3 + channel] = ((sum >> 8) + sum) >> 8;
    }
  }
  return { rgb, width, height };
}

// As app/probabilities.py has them.
function probabilities(logits, calibration) {
  const { temperature = 1, floor = null } = calibration ?? {};
  if (!floor) return softmax(logits, temperature);
  const raw = softmax(logits, 1);
  const best = raw.indexOf(Math.max(...raw));
  const left = raw.map((share, label) => (label === best ? share : Math.max(share - floor[label], LEFT * share)));
  return softmax(left.map((share) => Math.log(Math.max(share, Number.MIN_VALUE))), temperature);
}

function softmax(logits, temperature) {
  const largest = Math.max(...logits);
  const powers = Array.from(logits, (logit) => Math.exp((logit - largest) / temperature));
  const sum = powers.reduce((total, power) => total + power, 0);
  return powers.map((power) => power / sum);
}
