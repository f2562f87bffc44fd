// What the pack's scripts share of their talk with the server.

import { api } from "../../scripts/api.js"

// Sent by nodes/comfy_host/node_text.py: {prompt, node, slot, text}.
export const NODE_MESSAGE = "domain_guidance.node_message"

// What nodes said in the latest prompts (nodes/comfy_host/said.py): {prompt: {node: [[slot, text], ...]}}.
export const MESSAGES = "/domain_guidance/messages"

const PATIENCE = 30_000 // milliseconds: a connection that is lost may leave a request without an answer

export async function read(path) {
    const answer = await api.fetchApi(path, { signal: AbortSignal.timeout(PATIENCE) })
    return answer.ok ? answer.json() : {}
}
