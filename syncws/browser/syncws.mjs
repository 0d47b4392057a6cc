import "./syncws.js";

export const { Syncws } = globalThis;
