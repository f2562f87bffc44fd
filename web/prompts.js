// Which workflow a prompt belongs to: the one with its id.

import { app } from "../../scripts/app.js"
import { read } from "./server.js"

const known = new Map() // prompt -> a promise of what the server knows of it

async function readPrompt(prompt) {
    const { queue_running: now = [] } = await read("/queue")
    const found = now.find(([, id]) => id === prompt) ?? (await read(`/history/${prompt}`))[prompt]?.prompt
    return found?.[3]
}

// Whether the workflow on the canvas is the prompt's; also where nobody can tell.
export async function isHere(prompt) {
    if (!prompt) return true
    // A server that did not answer is asked again with the next message.
    if (!known.has(prompt)) known.set(prompt, readPrompt(prompt).catch(() => void known.delete(prompt)))
    const extra = await known.get(prompt)
    const id = extra?.extra_pnginfo?.workflow?.id
    return !id || id === (app.rootGraph ?? app.graph).id
}
