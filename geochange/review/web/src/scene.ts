// What the server knows of the scene, and how it is asked.

/** How dates are drawn: in three bands, or in one. */
export interface Look {
  name: string;
  bands: number[];
}

export interface Scene {
  /** What tells this review from all others. */
  review: string;
  name: string;
  shape: [number, number];
  transform: [number, number, number, number, number, number];
  crs: string | null;
  gsd: number | null;
  dates: { name: string; date: string | null }[];
  look: Look;
  bands: number[];
  layers: string[];
  deepest: number;
  classes: string[];
  threshold: number;
  top: number;
  orders: string[];
  cells: [number, number, number, number][];
  cell_columns: number;
  cell_sample: number[];
  reviewer: string;
  read_only: string | null;
  preparing: boolean;
}

export class Refused extends Error {
  constructor(
    /** Of HTTP; 0 where there is no connection. */
    readonly status: number,
    message: string,
    readonly answer: Record<string, unknown>,
  ) {
    super(message);
  }
}

/** Send something; `keepalive`: although the page is being closed. */
export async function post(path: string, body: unknown, keepalive = false): Promise<Record<string, any>> {
  const headers = { "Content-Type": "application/json", "X-Geochange": "1" };
  return answerOf(await reach(path, { method: "POST", headers, body: JSON.stringify(body), keepalive }));
}

export async function get(path: string): Promise<any> {
  return answerOf(await reach(path));
}

export async function getBytes(path: string): Promise<ArrayBuffer> {
  const response = await reach(path);
  if (!response.ok) await answerOf(response);
  return response.arrayBuffer();
}

async function reach(path: string, init?: RequestInit): Promise<Response> {
  try {
    return await fetch(path, init);
  } catch {
    throw new Refused(0, "no connection", {});
  }
}

async function answerOf(response: Response): Promise<any> {
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw new Refused(response.status, String(answer.error ?? response.statusText), answer);
  return answer;
}

/** Exchange the token of the printed address for the cookie, and take it out of the address. */
export async function beginSession(): Promise<void> {
  const token = new URLSearchParams(location.hash.slice(1)).get("token");
  if (token === null) return;
  await post("/api/session", { token });
  history.replaceState(null, "", location.pathname);
}
